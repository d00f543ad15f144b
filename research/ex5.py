from merge import *
# stage1 file with shift augmentation; sequence of merges with retraining on augmented group sums, teacher optional
f=sys.argv[1]; how=sys.argv[2]; ks=[int(a) for a in sys.argv[3].split(",")]; ep=int(sys.argv[4]); last=int(sys.argv[5]); lr=float(sys.argv[6]); wd=float(sys.argv[7]); aug=int(sys.argv[8]); alpha=float(sys.argv[9]); dense=sys.argv[10] if len(sys.argv)>10 else "denseA0.pt"
net=mnist_mlp(init="torch"); net.load_state_dict(torch.load(f))
dn=mnist_mlp(init="torch"); dn.load_state_dict(torch.load(dense)); dn.eval()
im=X.view(-1,28,28); sh=[(a,b) for a in (-1,0,1) for b in (-1,0,1)] if aug else [(0,0)]
def roll(a,b): return F.pad(im,(1,1,1,1))[:,1+a:29+a,1+b:29+b].reshape(-1,784)
TL=torch.stack([torch.cat([dn(c) for c in roll(a,b).split(5000)]).detach() for a,b in sh]) if alpha else None
class Aug:
    def __init__(s,lab):
        s.Z=torch.stack([gsum(roll(a,b),lab) for a,b in sh])
    def __len__(s): return len(X)
    def __getitem__(s,i):
        s.w=torch.randint(len(sh),(len(i),)); return s.Z[s.w,i]
class Tea:
    def __init__(s,A): s.A=A
    def __getitem__(s,i): return TL[s.A.w,i]
lab=labels_from(net); r=reduced(net,lab)
print(f,how,"start",tuple(r.fc1.weight.shape),"test",round(acc(r,gsum(XT,lab),YT),2),flush=True)
t=time.time()
for i,k in enumerate(ks):
    r,lab=merge(r,lab,gsum(X,lab),k,how,prune=how=="data"); 
    a=acc(r,gsum(XV,lab),YV); A=Aug(lab)
    fit(r,last if i==len(ks)-1 else ep,lr,wd=wd,x=A,teacher=Tea(A) if alpha else None,alpha=alpha,T=3.0,seed=i)
    h=r.fc1.weight.shape[0]
    print(k,"tied",round(a,2),"val",round(acc(r,gsum(XV,lab),YV),2),"test",round(acc(r,gsum(XT,lab),YT),2),"train",round(acc(r,gsum(X[:20000],lab),Y[:20000]),2),"kept",int((lab>=0).sum()),"h",h,"layer1 %.1fx"%(784/k),"net %.1fx"%(239711/(k*h+15*h+10+784*math.ceil(math.log2(k+1))/32)),round(time.time()-t),flush=True)
torch.save((r.state_dict(),lab),f"red5_{how}_{aug}_{alpha:g}_{lr:g}_{wd:g}_{f}")
