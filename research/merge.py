from common import *
import numpy as np
def labels_from(net):
    W=net.fc1.weight.detach().t(); kept=(W.norm(dim=1)>0).nonzero().flatten()
    lab=-torch.ones(784,dtype=torch.long); lab[kept]=torch.arange(len(kept)); return lab
def gsum(x,lab):
    k=int(lab.max())+1; G=torch.zeros(784,k); m=lab>=0; G[m.nonzero().flatten(),lab[m]]=1
    return x@G
def reduced(net,lab,hid=None):
    k=int(lab.max())+1; W=net.fc1.weight.detach().t()
    h=net.fc2.weight.detach().norm(dim=0)
    H=(h>0).nonzero().flatten()
    r=mnist_mlp(hidden=(len(H),),init="torch")
    r.fc1=nn.Linear(k,len(H))
    with torch.no_grad():
        C=torch.zeros(k,W.shape[1]); n=torch.zeros(k); m=lab>=0
        C.index_add_(0,lab[m],W[m]); n.index_add_(0,lab[m],torch.ones(int(m.sum()))); C/=n[:,None]
        r.fc1.weight.copy_(C.t()[H]); r.fc1.bias.copy_(net.fc1.bias[H])
        for a in ("weight","bias","running_mean","running_var"): getattr(r.bn1,a).copy_(getattr(net.bn1,a)[H])
        # pruned hidden: constant through BN
        D=[i for i in range(len(h)) if i not in set(H.tolist())]
        r.fc2.weight.copy_(net.fc2.weight[:,H]); r.fc2.bias.copy_(net.fc2.bias)
    return r
def merge(r,lab,Z,target,how="data",imp=True,prune=True):
    """r reduced net on group sums Z (n×k); merge to target groups; returns new r (weights), new lab"""
    k=Z.shape[1]
    W=r.fc1.weight.detach().double().t().clone().numpy()  # k×h
    b=r.fc1.bias.detach().double().clone().numpy()
    d=np.ones(W.shape[1])
    if imp:
        d=((r.fc2.weight.detach()**2).sum(0)*(r.bn1.weight.detach()**2)/(r.bn1.running_var+1e-5)).double().numpy()
        d/=d.mean()
    Zd=Z.double().numpy(); mu=Zd.mean(0); C=np.cov(Zd.T,bias=True)
    alive=np.ones(k,bool); parent=np.arange(k); sizes=np.bincount(lab[lab>=0].numpy(),minlength=k).astype(float)
    def pair_costs(i,js):
        if how=="data":
            diff=((W[i]-W[js])**2*d).sum(1); den=C[i,i]+C[js,js]+2*C[i,js]
            return diff*np.maximum(C[i,i]*C[js,js]-C[i,js]**2,0)/np.maximum(den,1e-12)
        s=(W[i]*W[js]).sum(1)/np.maximum((W[i]**2).sum(),(W[js]**2).sum(1)); return 1-s
    cost=np.full((k,k),np.inf)
    for i in range(k): cost[i]=pair_costs(i,np.arange(k)); cost[i,i]=np.inf
    zero=-1; n=k
    pr=((W**2)*d).sum(1)*np.diag(C)*0+np.inf
    if how=="data" and prune: pr=((W**2)*d).sum(1)*np.diag(C)
    dead=np.zeros(k,bool)
    while n>target:
        i,j=np.unravel_index(np.argmin(cost),cost.shape)
        p=int(np.argmin(np.where(alive,pr,np.inf)))
        if pr[p]<cost[i,j]:
            b+=W[p]*mu[p]; alive[p]=False; dead[p]=True; cost[p]=np.inf; cost[:,p]=np.inf; n-=1; continue
        if how=="data":
            den=C[i,i]+C[j,j]+2*C[i,j]; a=(C[i,i]+C[i,j])/den
        else: a=sizes[i]/(sizes[i]+sizes[j])
        new=a*W[i]+(1-a)*W[j]
        b+=W[i]*mu[i]+W[j]*mu[j]-new*(mu[i]+mu[j])
        W[i]=new; mu[i]+=mu[j]; sizes[i]+=sizes[j]
        C[i]+=C[j]; C[:,i]+=C[:,j]
        alive[j]=False; parent[j]=i; cost[j]=np.inf; cost[:,j]=np.inf; n-=1
        js=alive.nonzero()[0]; c=pair_costs(i,js); cost[i,js]=c; cost[js,i]=c; cost[i,i]=np.inf
        if how=="data" and prune: pr[i]=((W[i]**2)*d).sum()*C[i,i]
    def root(i):
        while parent[i]!=i: i=parent[i]
        return i
    ids={a:t for t,a in enumerate(alive.nonzero()[0])}
    new=lab.clone()
    for p in range(784):
        if lab[p]>=0:
            q=root(int(lab[p])); new[p]=-1 if dead[q] else ids[q]
    keep=alive.nonzero()[0]
    r2=mnist_mlp(hidden=(W.shape[1],),init="torch"); r2.fc1=nn.Linear(len(keep),W.shape[1])
    r2.bn1.load_state_dict(r.bn1.state_dict()); r2.fc2.load_state_dict(r.fc2.state_dict())
    with torch.no_grad(): r2.fc1.weight.copy_(torch.tensor(W[keep].T)); r2.fc1.bias.copy_(torch.tensor(b))
    return r2,new
_merge=merge
def merge(r,lab,Z,target,how="data",imp=True,prune=True):
    if how not in("upgma","upgmad","complete","wardn","wardsd"): return _merge(r,lab,Z,target,how,imp,prune)
    from scipy.cluster.hierarchy import linkage,fcluster
    from scipy.spatial.distance import squareform
    W=r.fc1.weight.detach().double().t()
    if how=="upgmad":
        d=((r.fc2.weight.detach()**2).sum(0)*(r.bn1.weight.detach()**2)/(r.bn1.running_var+1e-5)).double(); d/=d.mean(); W=W*d.sqrt()
    W=W.numpy(); g=W@W.T; n=np.diag(g); S=g/np.maximum(n[:,None],n[None]); D=1-S; D=(D+D.T)/2; np.fill_diagonal(D,0)
    if how=="complete": L=linkage(squareform(D,checks=False),"complete")
    elif how=="wardn": L=linkage(W/np.linalg.norm(W,axis=1,keepdims=True),"ward")
    elif how=="wardsd": L=linkage(W,"ward")
    else: L=linkage(squareform(D,checks=False),"average")
    c=fcluster(L,target,"maxclust")-1
    k=c.max()+1; c=torch.tensor(c,dtype=torch.long)
    new=lab.clone(); m=lab>=0; sizes=torch.bincount(lab[m],minlength=len(c)).double()
    new[m]=c[lab[m]]
    W=r.fc1.weight.detach().double().t(); C=torch.zeros(k,W.shape[1],dtype=torch.double).index_add_(0,c,W*sizes[:,None]); nn_=torch.zeros(k,dtype=torch.double).index_add_(0,c,sizes); C/=nn_[:,None]
    mu=Z.double().mean(0); b=r.fc1.bias.detach().double()+((W-C[c])*mu[:,None]).sum(0)
    r2=mnist_mlp(hidden=(W.shape[1],),init="torch"); r2.fc1=nn.Linear(k,W.shape[1])
    r2.bn1.load_state_dict(r.bn1.state_dict()); r2.fc2.load_state_dict(r.fc2.state_dict())
    with torch.no_grad(): r2.fc1.weight.copy_(C.t()); r2.fc1.bias.copy_(b)
    return r2,new
